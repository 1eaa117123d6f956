"""What `label_priors.py` and `anticipate_rendered.py` are made of; importable from them because they lie beside this folder."""
