-- The decision of one rule on every row, and who still has a place to lose: `standing` (row, passes).

CREATE OR REPLACE TEMP TABLE decision AS
SELECT row, {'rule': $rule, 'value': value::DOUBLE, 'threshold': threshold::DOUBLE, 'keep': keep, 'evidence': evidence}
           AS decision
FROM judged;

CREATE OR REPLACE TEMP TABLE standing_next AS
SELECT row, s.passes AND j.keep AS passes FROM standing s JOIN judged j USING (row);
DROP TABLE standing;
ALTER TABLE standing_next RENAME TO standing;
