-- The audit has its own database, so that it can be backed up and read separately from the state.
CREATE DATABASE audit;
