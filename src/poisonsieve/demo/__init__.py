"""The demo: a poisoned model, its victim and its guard on packaged data, and a report on what the guard did."""
