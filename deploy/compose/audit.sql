-- Beside the database of the workers' state: the audit may be kept, backed up and read separately.
CREATE DATABASE audit;
