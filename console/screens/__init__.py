"""The screens: one module each, with its routes and a template of its name."""
