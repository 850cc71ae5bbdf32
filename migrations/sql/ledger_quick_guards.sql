-- The guards of the ledger's rows, one look for all lines of a statement instead of two queries for each line.

-- First check: whatever a statement inserts, each line names a transaction and an account of its own merchant in its own currency, and each
-- transaction is balanced in each currency. Transactions and accounts are never deleted and never renamed (no_change, no_delete, no_truncate,
-- account_immutable), so what was there once stays there: a foreign key would say no more, and ask twice for each line.
CREATE OR REPLACE FUNCTION ledger.check_statement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE v_first bigint; v_last bigint; v_net numeric; v_lines bigint; v_accounts bigint; v_simple boolean;
  v_merchant uuid := nullif(current_setting('app.merchant_id', true), '')::uuid;
BEGIN
  SELECT min(i.txn_id), max(i.txn_id), sum(i.side * i.amount), count(*), count((SELECT a.id FROM ledger.account a
           WHERE a.merchant_id = i.merchant_id AND a.id = i.account_id AND a.currency = i.currency)),
         min(i.currency COLLATE "C") = max(i.currency COLLATE "C") AND bool_and(i.merchant_id = v_merchant)
    INTO v_first, v_last, v_net, v_lines, v_accounts, v_simple FROM inserted i;
  IF v_accounts <> v_lines THEN
    RAISE EXCEPTION 'a line names no account of its merchant in its currency' USING ERRCODE = '23503', CONSTRAINT = 'ledger_line_account';
  END IF;
  IF v_simple AND v_first = v_last AND v_net = 0 THEN   -- one transaction in one currency, as nearly always: no grouping
    PERFORM FROM ledger.txn t WHERE t.merchant_id = v_merchant AND t.id = v_first;
    IF FOUND THEN RETURN NULL; END IF;
  END IF;
  IF EXISTS (SELECT FROM (SELECT DISTINCT merchant_id, txn_id FROM inserted) i
      WHERE (SELECT t.id FROM ledger.txn t WHERE t.merchant_id = i.merchant_id AND t.id = i.txn_id) IS NULL) THEN
    RAISE EXCEPTION 'a line names no transaction of its merchant' USING ERRCODE = '23503', CONSTRAINT = 'ledger_line_transaction';
  END IF;
  IF EXISTS (SELECT FROM inserted i GROUP BY i.merchant_id, i.txn_id, i.currency HAVING sum(i.side * i.amount) <> 0) THEN
    RAISE EXCEPTION 'the transaction is not balanced' USING ERRCODE = '23514', CONSTRAINT = 'ledger_balanced';
  END IF;
  RETURN NULL;
END $$;
ALTER FUNCTION ledger.check_statement() RESET ALL;   -- it runs within a statement of the functions below, which plan once and by index

-- Second check, at commit and once per transaction: it has at least two entries and what is stored is balanced.
CREATE OR REPLACE FUNCTION ledger.check_transaction() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE v_lines bigint; v_net numeric; v_one_currency boolean;
BEGIN
  SELECT count(*), sum(side * amount), min(currency COLLATE "C") = max(currency COLLATE "C") INTO v_lines, v_net, v_one_currency
    FROM entry WHERE merchant_id = NEW.merchant_id AND txn_id = NEW.id;
  IF v_net = 0 AND v_lines > 1 THEN
    IF v_one_currency THEN RETURN NULL; END IF;
    PERFORM FROM entry WHERE merchant_id = NEW.merchant_id AND txn_id = NEW.id GROUP BY currency HAVING sum(side * amount) <> 0;
    IF NOT FOUND THEN RETURN NULL; END IF;
  END IF;
  RAISE EXCEPTION 'transaction % is incomplete or not balanced', NEW.id USING ERRCODE = '23514', CONSTRAINT = 'ledger_complete';
END $$;

ALTER TABLE ledger.entry DROP CONSTRAINT fk_entry_merchant_id_txn_id_txn, DROP CONSTRAINT fk_entry_merchant_id_account_id_currency_account;
