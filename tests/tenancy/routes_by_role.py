"""Who may call which route: one row a route, for pages and for the API. A route without a row fails the test beside this table.

``everybody``         no sign-in
``password``          whoever gave a right password (the second factor is next)
``signed-in``         any person with both factors
``owner admin …``     people with one of these roles; ``+developer`` only in the sandbox
``key orders.read``   programs whose API key has this scope
"""

ROUTES_BY_ROLE: dict[str, str] = {
    "api_access:issue": "owner admin +developer",
    "api_access:list": "owner admin developer",
    "api_access:new": "owner admin +developer",
    "api_access:revoke": "owner admin +developer",
    "api_access:revoke_form": "owner admin +developer",

    "connections:add": "owner admin +developer",
    "connections:approve_change": "owner admin +developer",
    "connections:choose": "owner admin +developer",
    "connections:disable": "owner admin +developer",
    "connections:enable": "owner admin +developer",
    "connections:list": "owner admin finance approver developer viewer",
    "connections:new": "owner admin +developer",
    "connections:policy": "owner admin +developer",
    "connections:reject_change": "owner admin +developer",
    "connections:settings": "owner admin +developer",
    "connections:settings_form": "owner admin +developer",
    "connections:show": "owner admin finance approver developer viewer",
    "connections:test": "owner admin +developer",

    "health:live": "everybody",
    "health:ready": "everybody",

    "identity:change_password": "signed-in",
    "identity:check_password": "everybody",
    "identity:confirm_enrolment": "password",
    "identity:density": "signed-in",
    "identity:end_other_sessions": "signed-in",
    "identity:end_session": "signed-in",
    "identity:enrol": "password",
    "identity:password": "signed-in",
    "identity:prove_recovery": "password",
    "identity:prove_totp": "password",
    "identity:recovery": "password",
    "identity:renew_recovery_codes": "signed-in",
    "identity:second_factor": "password",
    "identity:security": "signed-in",
    "identity:sign_in": "everybody",
    "identity:sign_out": "password",
    "identity:step_up": "signed-in",
    "identity:theme": "signed-in",

    "orders:api_cancel": "key orders.write",
    "orders:api_create": "key orders.write",
    "orders:api_detail": "key orders.read",

    "patterns:dialog": "everybody",
    "patterns:show": "everybody",
    "patterns:submit": "everybody",

    "payments:api_capture": "key payments.capture",
    "payments:api_create": "key payments.create",
    "payments:api_detail": "key payments.read",
    "payments:api_refund": "key payments.refund",
    "payments:api_void": "key payments.void",

    "psp:webhook": "everybody",

    "psp_events:list": "owner admin finance approver support developer viewer",
    "psp_events:retry": "owner admin +developer",

    "reports:export": "owner finance",
    "reports:home": "owner admin finance approver support developer viewer",
    "reports:list": "owner admin finance approver viewer",
    "reports:seller_activity": "owner admin finance approver support developer viewer",
    "reports:show": "owner admin finance approver viewer",

    "sellers:add": "owner admin finance +developer",
    "sellers:api_add": "key sellers.write",
    "sellers:api_list": "key sellers.read",
    "sellers:api_show": "key sellers.read",
    "sellers:block": "owner admin finance +developer",
    "sellers:block_form": "owner admin finance +developer",
    "sellers:edit": "owner admin finance +developer",
    "sellers:edit_form": "owner admin finance +developer",
    "sellers:fee_form": "owner admin finance +developer",
    "sellers:general_fee_form": "owner admin finance +developer",
    "sellers:list": "owner admin finance approver support developer viewer",
    "sellers:new": "owner admin finance +developer",
    "sellers:remove_fee": "owner admin finance +developer",
    "sellers:remove_general_fee": "owner admin finance +developer",
    "sellers:set_fee": "owner admin finance +developer",
    "sellers:set_general_fee": "owner admin finance +developer",
    "sellers:show": "owner admin finance approver support developer viewer",
    "sellers:unblock": "owner admin finance +developer",
    "sellers:unblock_form": "owner admin finance +developer",

    "static": "everybody",

    "static/head": "everybody",

    "tenancy:add_member": "owner admin",
    "tenancy:add_member_form": "owner admin",
    "tenancy:audit": "owner admin finance approver",
    "tenancy:change_profile": "owner admin",
    "tenancy:change_role": "owner admin",
    "tenancy:enter": "signed-in",
    "tenancy:profile": "owner admin finance approver support developer viewer",
    "tenancy:remove_member": "owner admin",
    "tenancy:role_form": "owner admin",
    "tenancy:roles": "owner admin finance approver developer viewer",
    "tenancy:team": "owner admin finance approver developer viewer",

    "wallets:api_list": "key wallets.read",
    "wallets:export": "owner finance",
    "wallets:export_statement": "owner finance",
    "wallets:list": "owner admin finance approver viewer +developer",
    "wallets:policy_form": "owner admin finance +developer",
    "wallets:set_policy": "owner admin finance +developer",
    "wallets:show": "owner admin finance approver viewer +developer",
    "wallets:summary": "owner admin finance approver viewer +developer",
}
