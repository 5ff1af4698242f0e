"""What is wrong with the settings of all processes together, told before any of them starts."""
