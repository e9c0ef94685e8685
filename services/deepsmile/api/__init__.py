"""API: doors only. HTTP in, a job out; what goes wrong becomes a problem document."""
