"""A paper's experiment as one grid: datasets x models x attacks x victims x defences x seeds, every step kept."""
