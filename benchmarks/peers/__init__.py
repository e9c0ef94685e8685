"""The same slides and the same ResNet18 through other tools and through this one."""
