-- The platform's fee on a sale: a share in basis points rounded half to even, plus a fixed part, never more than the sale.
-- The same rule as app.sellers.domain.FeeTerms.of; a test holds the two against each other.
CREATE FUNCTION platform_fee_of(sale bigint, basis_points bigint, fixed_minor bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT least(sale, fixed_minor + q + (r > 5000 OR (r = 5000 AND q % 2 = 1))::int)
    FROM (SELECT sale / 10000 * basis_points + sale % 10000 * basis_points / 10000 AS q,   -- the whole product would not fit for the largest sales
                 sale % 10000 * basis_points % 10000 AS r) parts
$$;
