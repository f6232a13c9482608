"""Laws of the workers that calls wait for, share and find warm."""
