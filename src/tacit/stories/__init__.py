"""Stories: whole jobs on real data between separate processes, one file per `tacit demo STORY`."""
