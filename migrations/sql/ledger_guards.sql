-- What the database refuses whatever the application does.

CREATE FUNCTION ledger.deny() RETURNS trigger LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: % on %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = '42501', CONSTRAINT = 'ledger_append_only';
END $$;

-- First check: every statement that inserts entries leaves each of its transactions balanced in each currency.
CREATE FUNCTION ledger.check_statement() RETURNS trigger LANGUAGE plpgsql SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  IF EXISTS (SELECT FROM inserted GROUP BY merchant_id, txn_id, currency HAVING sum(side * amount) <> 0) THEN
    RAISE EXCEPTION 'the transaction is not balanced' USING ERRCODE = '23514', CONSTRAINT = 'ledger_balanced';
  END IF;
  RETURN NULL;
END $$;

-- Second check, at commit and once per transaction: it has at least two entries and what is stored is balanced.
CREATE FUNCTION ledger.check_transaction() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE v_lines int; v_unbalanced int;
BEGIN
  SELECT coalesce(sum(lines), 0), count(*) FILTER (WHERE net <> 0) INTO v_lines, v_unbalanced FROM (
    SELECT count(*) AS lines, sum(side * amount) AS net FROM entry WHERE merchant_id = NEW.merchant_id AND txn_id = NEW.id GROUP BY currency) sums;
  IF v_lines < 2 OR v_unbalanced > 0 THEN
    RAISE EXCEPTION 'transaction % is incomplete or not balanced', NEW.id USING ERRCODE = '23514', CONSTRAINT = 'ledger_complete';
  END IF;
  RETURN NULL;
END $$;

-- An account keeps what it is for ever; only its status changes.
CREATE FUNCTION ledger.check_account() RETURNS trigger LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
BEGIN
  IF (to_jsonb(NEW) - 'status') IS DISTINCT FROM (to_jsonb(OLD) - 'status') THEN
    RAISE EXCEPTION 'only the status of an account may change' USING ERRCODE = '42501', CONSTRAINT = 'ledger_append_only';
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION ledger.check_book() RETURNS trigger LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
BEGIN
  IF NEW.merchant_id <> OLD.merchant_id OR NEW.closed_through IS NULL OR NEW.closed_through < OLD.closed_through THEN
    RAISE EXCEPTION 'a closed period stays closed' USING ERRCODE = '42501', CONSTRAINT = 'ledger_append_only';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER entry_balanced AFTER INSERT ON ledger.entry REFERENCING NEW TABLE AS inserted
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.check_statement();
CREATE CONSTRAINT TRIGGER txn_complete AFTER INSERT ON ledger.txn DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION ledger.check_transaction();
CREATE TRIGGER account_immutable BEFORE UPDATE ON ledger.account FOR EACH ROW EXECUTE FUNCTION ledger.check_account();
CREATE TRIGGER book_forwards BEFORE UPDATE ON ledger.book FOR EACH ROW EXECUTE FUNCTION ledger.check_book();
CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON ledger.entry FOR EACH ROW EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON ledger.txn FOR EACH ROW EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON ledger.balance_snapshot FOR EACH ROW EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_delete BEFORE DELETE ON ledger.account FOR EACH ROW EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_delete BEFORE DELETE ON ledger.book FOR EACH ROW EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_delete BEFORE DELETE ON ledger.balance FOR EACH ROW EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.entry FOR EACH STATEMENT EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.txn FOR EACH STATEMENT EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.account FOR EACH STATEMENT EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.book FOR EACH STATEMENT EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.balance FOR EACH STATEMENT EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.balance_delta FOR EACH STATEMENT EXECUTE FUNCTION ledger.deny();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.balance_snapshot FOR EACH STATEMENT EXECUTE FUNCTION ledger.deny();

-- Row security. The owner, as whom the functions below run, may read every book (the check, the roll-up's work list) and write only the
-- one the transaction was opened for; the application role sees only that one and writes nothing directly.
CREATE FUNCTION ledger.protect(p_table regclass) RETURNS void LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', p_table);
  EXECUTE format($p$CREATE POLICY merchant_wall ON %s USING (merchant_id = nullif(current_setting('app.merchant_id', true), '')::uuid)$p$, p_table);
  EXECUTE format('CREATE POLICY owner_reads ON %s FOR SELECT TO countinghouse_owner USING (true)', p_table);
END $$;
SELECT ledger.protect(t::regclass) FROM unnest(ARRAY['ledger.book', 'ledger.account', 'ledger.balance', 'ledger.txn', 'ledger.entry',
  'ledger.balance_delta', 'ledger.balance_snapshot']) t;

-- Entries are kept in ranges of transaction ids, made ahead of need. Should the job that makes them ever stand still, the default takes the
-- rows: posting never stops for want of a partition.
CREATE FUNCTION ledger.guard_partition(p_partition regclass) RETURNS void LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
BEGIN
  PERFORM ledger.protect(p_partition);
  EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION ledger.deny()', p_partition);
  EXECUTE format('CREATE TRIGGER entry_balanced AFTER INSERT ON %s REFERENCING NEW TABLE AS inserted '
    'FOR EACH STATEMENT EXECUTE FUNCTION ledger.check_statement()', p_partition);
  EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_insert_scale_factor = 0.01)', p_partition);
END $$;

CREATE FUNCTION ledger.ensure_partitions(p_size bigint DEFAULT 20000000) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE v_end bigint; v_last bigint; v_name text; v_made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(4217, 1);
  SELECT coalesce(max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(\d+)''\)'))[1]::bigint), 0) INTO v_end
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'ledger.entry'::regclass;
  SELECT greatest(last_value, coalesce((SELECT max(txn_id) FROM entry_rest), 0)) INTO v_last FROM txn_id_seq;
  IF v_end < v_last AND v_end > 0 THEN v_end := v_last + p_size - v_last % p_size; END IF;   -- what the default took stays there
  WHILE v_end < v_last + p_size + 1 LOOP
    v_name := format('entry_p%s', v_end);
    EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.entry INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
    EXECUTE format('ALTER TABLE ledger.entry ATTACH PARTITION ledger.%I FOR VALUES FROM (%s) TO (%s)', v_name, v_end, v_end + p_size);
    PERFORM ledger.guard_partition(('ledger.' || v_name)::regclass);
    v_end := v_end + p_size; v_made := v_made + 1;
  END LOOP;
  RETURN v_made;
END $$;
CREATE TABLE ledger.entry_rest PARTITION OF ledger.entry DEFAULT;
SELECT ledger.guard_partition('ledger.entry_rest');
SELECT ledger.ensure_partitions();
