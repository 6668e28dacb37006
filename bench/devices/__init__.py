"""Where jobs can run: one folder for each kind of device."""
