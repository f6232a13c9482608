"""What the function prints, captured and sent."""
