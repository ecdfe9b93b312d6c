"""The command line of a workflow: DIPY's, with its rough edges taken off."""

import argparse
from contextlib import contextmanager
from functools import partial
import glob
import inspect
import os
import sys

from dipy import __version__ as dipy_version
from dipy.workflows import flow_runner
from dipy.workflows.base import IntrospectiveArgumentParser

from dipy_vqvae._version import __version__
from dipy_vqvae.workflows.command.console import LEVELS
from dipy_vqvae.workflows.command.declared import metavar, shown_name
from dipy_vqvae.workflows.command.ranks import process_number

# Added after DIPY's own options, of which these take the place.
_OPTIONS = {
    "version": {
        "action": "version",
        "version": f"dipy_vqvae {__version__} (DIPY {dipy_version})",
        "help": "Show the version of dipy_vqvae and of DIPY, and exit.",
    },
    "out_strat": {
        "default": "absolute",
        "choices": ["absolute", "append", "prepend"],
        "help": "Where outputs of several inputs go: straight into out_dir "
        "(absolute), into out_dir in the folder of each input (append), or into a "
        "copy of the inputs' folders below out_dir (prepend). (default: absolute)",
    },
    "mix_names": {
        "action": "store_true",
        "help": "Begin the names of outputs with that of the input, even if there "
        "is only one.",
    },
    "log_level": {
        "type": str.upper,
        "default": "INFO",
        "choices": list(LEVELS),
        "help": "Least level of the messages to show: DEBUG, INFO, WARNING, ERROR or "
        "CRITICAL; on a terminal, progress bars show at DEBUG and INFO. Errors are "
        "always shown. (default: INFO)",
    },
    "log_file": {
        "metavar": "string",
        "default": "",
        "help": "File that the messages are appended to; they are shown as well.",
    },
}


_EXIT_CODES = (
    "Exit codes: 0 done; 1 failed on the data or files, and the last line of standard "
    "error says why; 2 wrong usage; 130 after Ctrl-C; 143 after SIGTERM."
)


def options_for(flow):
    """Return the options that all commands have, as DIPY's ``run_flow`` takes them."""
    options = {name: dict(kwargs) for name, kwargs in _OPTIONS.items()}
    if not flow.outputs_per_input:
        # DIPY offers them everywhere; here they would be refused.
        for name in ("out_strat", "mix_names"):
            options[name]["help"] = argparse.SUPPRESS
    return options


class CommandParser(IntrospectiveArgumentParser):
    """Argument parser of the command `prog`.

    ``configure(level=, file=)`` sets up the messages once the arguments are known.
    """

    def __init__(self, *, prog, configure):
        super().__init__(prog=prog)
        self.epilog = f"{_EXIT_CODES}\n\n{self.epilog}"
        self._configure = configure
        self._signature = None
        self._takes_conditions = False
        self._options = {}
        self._words = []

    def _print_message(self, message, file=None):
        # Of several processes with the same arguments one is enough to say it.
        if process_number() == 0:
            super()._print_message(message, file)

    def add_workflow(self, workflow):
        """Add the parameters of a workflow's ``run``; return what DIPY's parser does."""
        self._signature = inspect.signature(workflow.run).parameters
        self._takes_conditions = getattr(workflow, "takes_conditions", False)
        sub_flows = super().add_workflow(workflow)
        self.epilog = "\n\n".join([self.epilog, *getattr(workflow, "papers", ())])
        for action in self._actions:
            # argparse shows the name of DIPY's wrapper: "invalid inner value".
            if getattr(action.type, "__name__", "") == "inner":
                action.type.__name__ = action.metavar or "string"
            for default in ("None", "False", ""):
                action.help = (action.help or "").removesuffix(f" (default: {default})")
        groups = getattr(workflow.run, "groups", ())
        self._options = {n: s for group in groups for n, s in group.options.items()}
        for action in self._actions:
            option = self._options.get(action.dest)
            if option is not None and option.is_positional:
                self._make_positional(action)
        self._show_groups(groups)
        return sub_flows

    def _make_positional(self, action):
        """Turn an option into an argument without a name, which may be left out."""
        # DIPY's parser makes such arguments of what has no default only.
        for text in action.option_strings:
            del self._option_string_actions[text]
        action.option_strings, action.nargs, action.metavar = [], "?", None

    def _show_groups(self, groups):
        """Let ``--help`` show the options in their groups, DIPY's own at the end."""
        if not groups:
            return
        actions = {action.dest: action for action in self._actions}
        for declared in groups:
            group = self.add_argument_group(declared.title)
            for name, option in declared.options.items():
                action = actions[name]
                for other in self._action_groups:
                    if action in other._group_actions:
                        other._group_actions.remove(action)
                group._group_actions.append(action)
                action.metavar = metavar(option) or action.metavar
        own = self._action_groups[: -len(groups)]
        self._action_groups = [*self._action_groups[-len(groups) :], *own]
        self._optionals.title = "The command itself"
        endings = {"+": "{} ...", "?": "[{}]"}
        positionals = [
            endings.get(action.nargs, "{}").format(action.metavar or action.dest)
            for action in self._get_positional_actions()
        ]
        self.usage = " ".join(["%(prog)s", *positionals, "[--option value ...]"])

    def parse_args(self, args=None, namespace=None):
        """Parse the command line; conditions of a prior are options of their own."""
        args = self._words = sys.argv[1:] if args is None else args
        if self._takes_conditions:
            args = self._with_conditions(args)
        return super().parse_args(args, namespace)

    def error(self, message):
        """End with exit code 2; an option that took the files is pointed out."""
        super().error(message + self._hint(message))

    def _hint(self, message):
        """Say that files come first, where an option of several values took them."""
        takers = [
            option
            for action in self._actions
            if action.nargs == "*"
            for option in action.option_strings
        ]
        words = [word.partition("=")[0] for word in self._words]
        is_taken = message.startswith("the following arguments are required") and any(
            taker.startswith(word)
            for word in words
            if word.startswith("--")
            for taker in takers
        )
        value = message.partition(" value: ")[2].strip("'")
        if not is_taken and not (value and (os.path.exists(value) or "/" in value)):
            return ""
        names = [action.dest for action in self._get_positional_actions()]
        return f"; name {' and '.join(names)} before the options" if names else ""

    def get_flow_args(self, args=None, namespace=None):
        """Parse the command line, and set up the messages."""
        values = super().get_flow_args(args, namespace)
        for name, parameter in self._signature.items():
            if name not in values or "out_" in name:
                continue
            value = values[name]
            if "" in _as_list(value) and parameter.default != "":
                # From a variable of the shell that is not set: not the same as an
                # option that is not given.
                self.error(f"argument {self._shown(name)}: the value is empty")
            if isinstance(value, list) and "None" in value:
                value = values[name] = None if len(value) == 1 else value
            if value is None and "none" in self._choices(name):
                value = values[name] = "none"
            if value is None and parameter.default is not None:
                self.error(f"argument --{name}: needs a value, not None")
            if isinstance(value, list) and "None" in value:
                self.error(f"argument --{name}: None among other values")
        self._check_log_file(values)
        self._configure(level=values["log_level"], file=values["log_file"])
        return values

    def _with_conditions(self, args):
        """Read ``--age 40 60``, an option that only the prior knows, as a condition."""
        known = [text for action in self._actions for text in action.option_strings]
        others, conditions, name = [], {}, None
        for arg in args:
            if arg.startswith("-") and not _is_number(arg):
                option, sign, value = arg.partition("=")
                is_known = any(text.startswith(option) for text in known)
                name = None if is_known or option in ("-", "--") else option
                if name is not None:
                    conditions.setdefault(name, []).extend([value] * bool(sign))
                    continue
            (others if name is None else conditions[name]).append(arg)
        if not conditions:
            return args
        others += [name for name, words in conditions.items() if not words]
        texts = [
            f"{name.lstrip('-')}={','.join(words)}"
            for name, words in conditions.items()
            if words
        ]
        if not texts:
            return others
        if "--condition" not in others:
            return [*others, "--condition", *texts]
        place = others.index("--condition") + 1
        return [*others[:place], *texts, *others[place:]]

    def _choices(self, name):
        """Return the choices of an option; DIPY's parser takes none for None."""
        constraint = self._options[name].constraint if name in self._options else None
        return getattr(constraint, "choices", ())

    def _check_log_file(self, values):
        """Refuse to append messages to an input or an output."""
        if not values["log_file"]:
            return
        log_file = os.path.realpath(os.path.expanduser(values["log_file"]))
        for name in self._signature:
            value = values.get(name, self._signature[name].default)
            paths = []
            if name.startswith("out_") and name != "out_dir" and value is not None:
                out_dir = values.get("out_dir") or ""
                paths = [os.path.join(os.path.expanduser(out_dir), str(value))]
            elif name.endswith(("_file", "_files")) and value:
                named = map(os.path.expanduser, _as_list(value))
                paths = [path for name in named for path in (name, *glob.iglob(name))]
            if log_file in map(os.path.realpath, paths):
                self.error(
                    f"argument --log_file: {values['log_file']} is {self._shown(name)}"
                )

    def _shown(self, name):
        """Return what the user calls a parameter."""
        if name in self._options:
            return shown_name(name, self._options[name])
        is_option = self._signature[name].default is not inspect.Parameter.empty
        return f"--{name}" if is_option else name


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_list(value):
    return value if isinstance(value, list) else [value]


@contextmanager
def in_place_of_dipys(prog, configure):
    """Have DIPY's ``run_flow`` use this parser, and leave the logging alone.

    ``run_flow`` offers no other way: it makes its parser itself, and its logging
    ignores the level asked for.
    """
    kept = flow_runner.IntrospectiveArgumentParser, flow_runner.configure_logger
    flow_runner.IntrospectiveArgumentParser = partial(
        CommandParser, prog=prog, configure=configure
    )
    flow_runner.configure_logger = _leave_logging_alone
    try:
        yield
    finally:
        flow_runner.IntrospectiveArgumentParser, flow_runner.configure_logger = kept


def _leave_logging_alone(**kwargs):
    pass
