"""The embedded parts and the pretended gateways: everything Rushes talks to, on one machine and free of charge."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
