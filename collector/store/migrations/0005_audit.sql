-- Who asked, by which token, and for whom they may ask, out of each audit record: the API lists the audit by them. The
-- document stays the truth; records of earlier versions name no token and no tenants, and are for those who see all.

--@ block audit_by
ALTER TABLE audit ADD COLUMN IF NOT EXISTS by LowCardinality(String) MATERIALIZED JSONExtractString(document, 'by');

--@ block audit_token
ALTER TABLE audit ADD COLUMN IF NOT EXISTS token_id LowCardinality(String) MATERIALIZED JSONExtractString(document, 'token_id');

--@ block audit_tenants
ALTER TABLE audit ADD COLUMN IF NOT EXISTS tenants Array(String) MATERIALIZED JSONExtract(document, 'tenants', 'Array(String)');
