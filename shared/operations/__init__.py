"""What keeps the ledger right: doctor, auditor, recovery, overdue times, retries and questions to gateways."""
