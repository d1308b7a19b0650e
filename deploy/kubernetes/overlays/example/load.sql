SELECT time_bucket('5 minutes', time) AS bucket, avg(load), max(load)
FROM readings
WHERE device = :device AND time BETWEEN :start_time AND :end_time
GROUP BY bucket ORDER BY bucket
