"""The rooms that touch sockets, clocks and processes; none of them judges anything."""
