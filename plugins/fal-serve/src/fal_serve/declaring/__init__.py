"""What classes and functions declare: routes, options, types and settings."""
