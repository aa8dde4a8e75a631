"""The tables of the billing database."""

from __future__ import annotations

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA busy_timeout = 5000;

CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS tasks (
    gateway TEXT NOT NULL,
    id TEXT NOT NULL,
    api_key TEXT NOT NULL,
    body TEXT NOT NULL,
    clip TEXT NOT NULL,
    usd TEXT NOT NULL,
    accepted_at REAL NOT NULL,
    takes_s REAL NOT NULL,
    idempotency_key TEXT,
    fate TEXT NOT NULL,
    PRIMARY KEY (gateway, id),
    UNIQUE (gateway, api_key, idempotency_key)
);

CREATE TABLE IF NOT EXISTS bills (
    id INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    task_id TEXT NOT NULL,
    usd TEXT NOT NULL,
    at REAL NOT NULL
);

-- what an account has had in all; without a row it has the balance of the settings, and is never refused
CREATE TABLE IF NOT EXISTS accounts (
    gateway TEXT NOT NULL,
    api_key TEXT NOT NULL,
    credit_usd TEXT NOT NULL,
    PRIMARY KEY (gateway, api_key)
);

-- due_at is NULL once nothing more is to be sent
CREATE TABLE IF NOT EXISTS callbacks (
    id INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    task_id TEXT NOT NULL,
    url TEXT NOT NULL,
    forged INTEGER NOT NULL,
    due_at REAL,
    tries INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS callbacks_due ON callbacks (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS deliveries (
    gateway TEXT NOT NULL,
    task_id TEXT NOT NULL,
    url TEXT NOT NULL,
    forged INTEGER NOT NULL,
    at REAL NOT NULL,
    outcome TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS faults (fault TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS violations (
    gateway TEXT NOT NULL,
    at REAL NOT NULL,
    call TEXT NOT NULL,
    problem TEXT NOT NULL,
    body TEXT NOT NULL
);
"""
