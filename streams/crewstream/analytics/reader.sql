-- A user of a ClickHouse server who reads the database and nothing else: no writes, no files, no
-- network (those need grants of their own), within limits that it cannot raise, without duplicates.
CREATE SETTINGS PROFILE OR REPLACE {reader} {on_cluster}
SETTINGS readonly = 2 CONST,
         allow_ddl = 0 CONST,
         final = 1,
         do_not_merge_across_partitions_select_final = 1,
         max_execution_time = 30 MIN 1 MAX 30,
         max_memory_usage = 1000000000 MIN 1 MAX 1000000000,
         max_threads = 4 MIN 1 MAX 4;

CREATE USER OR REPLACE {reader} {on_cluster}
IDENTIFIED WITH sha256_hash BY '{password_sha256}'
DEFAULT DATABASE {db}
SETTINGS PROFILE {reader};

GRANT {on_cluster} SELECT ON {db}.* TO {reader};
