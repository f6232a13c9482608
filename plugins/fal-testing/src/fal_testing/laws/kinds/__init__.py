"""Laws of kinds of environment: what every host relies on as it builds one."""
