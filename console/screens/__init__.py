"""The screens: one module each, with its routes; its main template has the name of the module."""
