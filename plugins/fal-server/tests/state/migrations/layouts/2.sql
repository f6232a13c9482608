BEGIN TRANSACTION;
CREATE TABLE accounts (
    id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    nickname VARCHAR NOT NULL,
    full_name VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (nickname)
);
CREATE TABLE aliases (
    account_id VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    environment VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    auth_mode INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    PRIMARY KEY (account_id, alias),
    FOREIGN KEY(account_id) REFERENCES accounts (id),
    FOREIGN KEY(revision) REFERENCES revisions (id)
);
CREATE TABLE app_files (
    account_id VARCHAR NOT NULL,
    hash VARCHAR NOT NULL,
    mode INTEGER NOT NULL,
    size BIGINT NOT NULL,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (account_id, hash),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE environments (
    account_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    description VARCHAR,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (account_id, name),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE idempotency_keys (
    scope VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    request_id VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (scope)
);
CREATE TABLE keys (
    id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    hash VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    preset VARCHAR NOT NULL,
    permissions JSON NOT NULL,
    created_at FLOAT NOT NULL,
    revoked_at FLOAT,
    PRIMARY KEY (id),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE layout (
    version INTEGER NOT NULL
);
INSERT INTO "layout" VALUES(2);
CREATE TABLE log_shares (
    runner_id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    note BIGINT,
    PRIMARY KEY (runner_id, account_id)
);
CREATE TABLE logs (
    number BIGINT NOT NULL,
    time BIGINT NOT NULL,
    account_id VARCHAR NOT NULL,
    application VARCHAR NOT NULL,
    runner_id VARCHAR NOT NULL,
    request_id VARCHAR,
    level VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    message VARCHAR NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE members (
    team_id VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    PRIMARY KEY (team_id, user_id),
    FOREIGN KEY(team_id) REFERENCES accounts (id),
    FOREIGN KEY(user_id) REFERENCES accounts (id)
);
CREATE TABLE requests (
    id VARCHAR NOT NULL,
    number BIGINT NOT NULL,
    account_id VARCHAR NOT NULL,
    owner_name VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    sender VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    headers VARCHAR NOT NULL,
    priority INTEGER NOT NULL,
    webhook VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    submitted_at FLOAT NOT NULL,
    started_at FLOAT,
    ended_at FLOAT,
    status INTEGER,
    answer_headers VARCHAR,
    error VARCHAR,
    error_type VARCHAR,
    webhook_due FLOAT,
    webhook_tries INTEGER NOT NULL,
    start_timeout FLOAT,
    body_size BIGINT DEFAULT '0' NOT NULL,
    answer_size BIGINT DEFAULT '0' NOT NULL,
    body BLOB NOT NULL,
    answer BLOB,
    PRIMARY KEY (id)
);
CREATE TABLE revisions (
    id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    environment VARCHAR NOT NULL,
    request BLOB NOT NULL,
    scaling VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE runners (
    id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    token VARCHAR NOT NULL,
    reference VARCHAR NOT NULL,
    machine_type VARCHAR NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT,
    PRIMARY KEY (id)
);
CREATE TABLE secrets (
    account_id VARCHAR NOT NULL,
    environment VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value BLOB NOT NULL,
    default_exposed BOOLEAN,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (account_id, environment, name),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE stored_files (
    id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    content_type VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    created_at FLOAT NOT NULL,
    expires_at FLOAT,
    PRIMARY KEY (id),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE takeovers (
    account_id VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    environment VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    auth_mode INTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    rolling BOOLEAN NOT NULL,
    PRIMARY KEY (account_id, alias),
    FOREIGN KEY(account_id) REFERENCES accounts (id),
    FOREIGN KEY(revision) REFERENCES revisions (id)
);
CREATE INDEX logs_of_account ON logs (account_id, time);
CREATE INDEX logs_of_runner ON logs (runner_id, time);
CREATE INDEX logs_of_request ON logs (request_id);
CREATE INDEX log_shares_of_account ON log_shares (account_id);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_by_request ON idempotency_keys (request_id);
CREATE INDEX requests_by_number ON requests (number);
CREATE INDEX requests_by_state ON requests (state);
CREATE INDEX requests_by_end ON requests (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX requests_by_webhook ON requests (webhook_due) WHERE webhook_due IS NOT NULL;
CREATE INDEX ix_runners_account_id ON runners (account_id);
CREATE INDEX ix_keys_account_id ON keys (account_id);
CREATE INDEX ix_revisions_account_id ON revisions (account_id);
CREATE INDEX ix_stored_files_account_id ON stored_files (account_id);
COMMIT;
