"""What keeps an installation right: doctor, auditor, recovery, overdue times, retries and questions to gateways.

These stand on the joined services; worker, receiver and shell call them.
"""
