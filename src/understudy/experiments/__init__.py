"""Where everything meets: settings become objects, objects become runs."""
