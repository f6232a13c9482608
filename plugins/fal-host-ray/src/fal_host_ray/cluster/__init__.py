"""The cluster: the launcher, a process that speaks to Ray, and what it is asked."""
