"""Store: jobs, their events and the keys of their requests, in SQL, which alone is the truth."""
