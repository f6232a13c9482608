"""Laws of calls that end early: cancelled, timed out, lost, or with their program."""
