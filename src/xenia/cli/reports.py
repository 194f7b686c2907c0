"""The verbs that only look and tell: doctor, inspect, hypercalls.  Tables for people, JSON for programs."""

from __future__ import annotations
