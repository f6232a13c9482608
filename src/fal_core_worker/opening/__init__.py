"""What travels by pickle: opened, and sealed for the way back."""
