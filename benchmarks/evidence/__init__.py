"""The trainings behind the tables of docs/: what to run, its raw numbers in results/, and the tables made from them."""
