//! Runbook and parameters to a plan.
