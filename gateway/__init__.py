"""The asynchronous API, feedback, and the page for people: to come."""
