/// Step 3 of the schema: inputs, uploads, jobs, keys and what an owner has of all of them.
enum DurableWorkSchema {
    static let step: StaticString = """
        CREATE TABLE inputs (
            owner      TEXT NOT NULL,
            digest     TEXT NOT NULL,
            bytes      INTEGER NOT NULL,
            container  TEXT NOT NULL,
            dtype      TEXT,
            shape      TEXT,
            created_at INTEGER NOT NULL,
            used_at    INTEGER NOT NULL,
            PRIMARY KEY (owner, digest)
        ) STRICT;
        CREATE INDEX inputs_by_owner ON inputs (owner, created_at, digest);
        CREATE INDEX inputs_by_digest ON inputs (digest);
        CREATE INDEX inputs_by_use ON inputs (used_at);

        -- `received` is the acknowledged offset; `state` goes with it, in one commit.
        CREATE TABLE uploads (
            id         TEXT NOT NULL PRIMARY KEY,
            owner      TEXT NOT NULL,
            length     INTEGER,
            received   INTEGER NOT NULL,
            reserved   INTEGER NOT NULL,
            metadata   TEXT NOT NULL,
            query      TEXT,
            location   TEXT,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            state      BLOB
        ) STRICT;
        CREATE INDEX uploads_unfinished ON uploads (owner) WHERE location IS NULL;
        CREATE INDEX uploads_by_expiry ON uploads (expires_at);

        CREATE TABLE jobs (
            sequence    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
            id          TEXT NOT NULL UNIQUE,
            owner       TEXT NOT NULL,
            input       TEXT NOT NULL,
            recipe      TEXT NOT NULL,
            calibration TEXT,
            artifact    TEXT NOT NULL,
            state       TEXT NOT NULL,
            attempts    INTEGER NOT NULL,
            memory      INTEGER NOT NULL,
            reserved    INTEGER NOT NULL,
            total_bytes INTEGER NOT NULL,
            is_cancel_wanted INTEGER NOT NULL,
            problem     TEXT,
            created_at  INTEGER NOT NULL,
            started_at  INTEGER,
            finished_at INTEGER,
            not_before  INTEGER NOT NULL,
            checkpoint  BLOB
        ) STRICT;
        CREATE INDEX jobs_by_owner ON jobs (owner, sequence);
        CREATE INDEX jobs_by_state ON jobs (owner, state, sequence);
        CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
        CREATE INDEX jobs_queued ON jobs (owner, not_before, sequence) WHERE state = 'queued';
        CREATE INDEX jobs_running ON jobs (sequence) WHERE state = 'running';
        CREATE INDEX jobs_live_by_input ON jobs (owner, input) WHERE state IN ('queued', 'running');
        CREATE INDEX jobs_live_by_calibration ON jobs (owner, calibration)
            WHERE state IN ('queued', 'running') AND calibration IS NOT NULL;
        -- Identical recipes in flight are computed once.
        CREATE UNIQUE INDEX jobs_live_by_artifact ON jobs (artifact) WHERE state IN ('queued', 'running');

        CREATE TABLE idempotency (
            owner       TEXT NOT NULL,
            key         TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            job         TEXT NOT NULL,
            expires_at  INTEGER NOT NULL,
            PRIMARY KEY (owner, key)
        ) STRICT;
        CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

        -- `hash` is the SHA-256 of the secret: 256 random bits, which no dictionary holds.
        CREATE TABLE keys (
            id            TEXT NOT NULL PRIMARY KEY,
            name          TEXT NOT NULL UNIQUE,
            hash          TEXT NOT NULL,
            scopes        TEXT NOT NULL,
            maximum_bytes INTEGER,
            maximum_work  INTEGER,
            created_at    INTEGER NOT NULL,
            revoked_at    INTEGER
        ) STRICT;

        CREATE TABLE audit (
            sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
            at       INTEGER NOT NULL,
            owner    TEXT NOT NULL,
            action   TEXT NOT NULL,
            target   TEXT NOT NULL,
            trace    TEXT
        ) STRICT;
        CREATE INDEX audit_by_time ON audit (at);

        -- Kept by triggers: a quota is asked for at every write, a count of jobs at every scrape.
        CREATE TABLE owner_totals (
            owner TEXT NOT NULL PRIMARY KEY,
            bytes INTEGER NOT NULL,
            jobs  INTEGER NOT NULL
        ) STRICT;
        INSERT INTO owner_totals SELECT owner, sum(bytes), 0 FROM artifacts GROUP BY owner;
        CREATE TABLE job_totals (state TEXT NOT NULL PRIMARY KEY, count INTEGER NOT NULL) STRICT;
        INSERT INTO job_totals VALUES ('queued', 0), ('running', 0), ('succeeded', 0), ('failed', 0), ('cancelled', 0);

        CREATE TRIGGER artifact_owned AFTER INSERT ON artifacts BEGIN
            INSERT INTO owner_totals SELECT new.owner, 0, 0
                WHERE NOT EXISTS (SELECT 1 FROM owner_totals WHERE owner = new.owner);
            UPDATE owner_totals SET bytes = bytes + new.bytes WHERE owner = new.owner;
        END;
        CREATE TRIGGER artifact_disowned AFTER DELETE ON artifacts BEGIN
            UPDATE owner_totals SET bytes = bytes - old.bytes WHERE owner = old.owner;
        END;
        CREATE TRIGGER input_owned AFTER INSERT ON inputs BEGIN
            INSERT INTO owner_totals SELECT new.owner, 0, 0
                WHERE NOT EXISTS (SELECT 1 FROM owner_totals WHERE owner = new.owner);
            UPDATE owner_totals SET bytes = bytes + new.bytes WHERE owner = new.owner;
        END;
        CREATE TRIGGER input_disowned AFTER DELETE ON inputs BEGIN
            UPDATE owner_totals SET bytes = bytes - old.bytes WHERE owner = old.owner;
        END;
        CREATE TRIGGER upload_owned AFTER INSERT ON uploads BEGIN
            INSERT INTO owner_totals SELECT new.owner, 0, 0
                WHERE NOT EXISTS (SELECT 1 FROM owner_totals WHERE owner = new.owner);
            UPDATE owner_totals SET bytes = bytes + new.reserved WHERE owner = new.owner;
        END;
        CREATE TRIGGER upload_reserved AFTER UPDATE OF reserved ON uploads BEGIN
            UPDATE owner_totals SET bytes = bytes - old.reserved + new.reserved WHERE owner = new.owner;
        END;
        CREATE TRIGGER upload_disowned AFTER DELETE ON uploads BEGIN
            UPDATE owner_totals SET bytes = bytes - old.reserved WHERE owner = old.owner;
        END;
        CREATE TRIGGER job_added AFTER INSERT ON jobs BEGIN
            INSERT INTO owner_totals SELECT new.owner, 0, 0
                WHERE NOT EXISTS (SELECT 1 FROM owner_totals WHERE owner = new.owner);
            UPDATE owner_totals
                SET bytes = bytes + new.reserved, jobs = jobs + (new.state IN ('queued', 'running'))
                WHERE owner = new.owner;
            UPDATE job_totals SET count = count + 1 WHERE state = new.state;
        END;
        CREATE TRIGGER job_moved AFTER UPDATE OF state, reserved ON jobs BEGIN
            UPDATE owner_totals
                SET bytes = bytes - old.reserved + new.reserved,
                    jobs = jobs - (old.state IN ('queued', 'running')) + (new.state IN ('queued', 'running'))
                WHERE owner = new.owner;
            UPDATE job_totals SET count = count - 1 WHERE state = old.state;
            UPDATE job_totals SET count = count + 1 WHERE state = new.state;
        END;
        CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
            UPDATE owner_totals
                SET bytes = bytes - old.reserved, jobs = jobs - (old.state IN ('queued', 'running'))
                WHERE owner = old.owner;
            UPDATE job_totals SET count = count - 1 WHERE state = old.state;
        END;
        PRAGMA user_version = 3;
        """

    /// What a job is to do is kept after its end and may be long: from here on it counts against its owner.
    static let countsRecipes: StaticString = """
        UPDATE owner_totals SET bytes = bytes + (
            SELECT coalesce(sum(length(CAST(recipe AS BLOB))), 0) FROM jobs WHERE jobs.owner = owner_totals.owner);
        DROP TRIGGER job_added;
        CREATE TRIGGER job_added AFTER INSERT ON jobs BEGIN
            INSERT INTO owner_totals SELECT new.owner, 0, 0
                WHERE NOT EXISTS (SELECT 1 FROM owner_totals WHERE owner = new.owner);
            UPDATE owner_totals
                SET bytes = bytes + new.reserved + length(CAST(new.recipe AS BLOB)),
                    jobs = jobs + (new.state IN ('queued', 'running'))
                WHERE owner = new.owner;
            UPDATE job_totals SET count = count + 1 WHERE state = new.state;
        END;
        DROP TRIGGER job_removed;
        CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
            UPDATE owner_totals
                SET bytes = bytes - old.reserved - length(CAST(old.recipe AS BLOB)),
                    jobs = jobs - (old.state IN ('queued', 'running'))
                WHERE owner = old.owner;
            UPDATE job_totals SET count = count - 1 WHERE state = old.state;
        END;
        PRAGMA user_version = 4;
        """
}
