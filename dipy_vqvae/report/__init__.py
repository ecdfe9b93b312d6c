"""Reports: drawing and HTML, of the experiment and of single fits."""
