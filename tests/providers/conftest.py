from __future__ import annotations

import pytest

pytest.register_assert_rewrite("answer_contract", "link_contract", "provider_contract", "retry_contract")
