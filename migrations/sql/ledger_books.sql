-- A merchant has its book from its first moment, whoever makes it: nobody can forget to open one.

CREATE FUNCTION ledger.open_book_of_merchant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
BEGIN
  INSERT INTO book (merchant_id) VALUES (NEW.id) ON CONFLICT (merchant_id) DO NOTHING;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION ledger.open_book_of_merchant FROM PUBLIC;

CREATE TRIGGER open_book AFTER INSERT ON merchant FOR EACH ROW EXECUTE FUNCTION ledger.open_book_of_merchant();
