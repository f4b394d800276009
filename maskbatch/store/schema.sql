-- scan.db: everything a scan found. SQLite 3, readable by any tool while a scan is at work. docs/store.md explains it by example.
--
-- Numbers that reports show with decimals are whole numbers here, so that they are equal on every machine: a column that ends
-- in _e4 holds ten thousandths, one in _e1 tenths. The views `faces` and `tracks` have them as plain numbers.

PRAGMA application_id = 1296187732;  -- "MBAT"
PRAGMA user_version = 4;             -- the version of this schema

-- One row for each time a scan was begun in this folder, or continued.
CREATE TABLE session (
    id           INTEGER PRIMARY KEY,
    started      TEXT NOT NULL,             -- UTC, ISO 8601
    ended        TEXT,                      -- NULL while the session is at work, and for good when it was killed
    how          TEXT,                      -- finished, interrupted, or the error that ended the session
    seconds      REAL,
    frames       INTEGER,                   -- frames analysed in this session
    host         TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    identity     TEXT NOT NULL,             -- JSON: settings, weights and device that decide results; equal for all sessions
    facts        TEXT NOT NULL,             -- JSON: versions, all settings, device, weights, inputs, number of files
    num_warnings INTEGER NOT NULL DEFAULT 0,
    warnings     TEXT NOT NULL DEFAULT '[]',   -- JSON: the first 200
    stages       TEXT NOT NULL DEFAULT '{}'    -- JSON: seconds each stage was at work
);

-- One row for each input that was ever to be scanned into this folder.
CREATE TABLE source (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,       -- as in the tables: the path below the input folder
    position    INTEGER,                    -- order in the reports; NULL: not among the inputs of the last session
    path        TEXT NOT NULL,
    kind        TEXT NOT NULL,              -- image or video
    state       TEXT NOT NULL DEFAULT 'pending',   -- pending, part (a video with whole segments) or done
    opened_in   INTEGER REFERENCES session(id),    -- the session that is reading the source; NULL when it is closed again
    size        INTEGER,                    -- bytes, and the next two: what the file was when it was read;
    mtime_ns    INTEGER,                    -- NULL when the file could not be read
    quick_hash  TEXT,
    error       TEXT,                       -- NULL: the source was read whole
    transient   INTEGER NOT NULL DEFAULT 0, -- 1: the error is not in the file, which is read again by the next session
    notes       TEXT NOT NULL DEFAULT '',   -- parts of the file that were not looked at
    fps         REAL,
    duration_s  REAL,
    width       INTEGER,                    -- pixels of the upright picture
    height      INTEGER,
    recorded    TEXT NOT NULL DEFAULT '[]', -- JSON: pairs of name and value, what the file says of the time and the camera
    decoded     INTEGER NOT NULL DEFAULT 0, -- frames
    analysed    INTEGER NOT NULL DEFAULT 0  -- frames
);
CREATE INDEX source_position ON source(position);

-- One row for each whole segment of a video that is not done. The last row of a source is its checkpoint.
CREATE TABLE segment (
    source_id  INTEGER NOT NULL REFERENCES source(id),
    number     INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,               -- JSON: how reader, tracker and writer stand at the end of the segment
    PRIMARY KEY (source_id, number)
) WITHOUT ROWID;

-- One row for each face in each analysed frame.
CREATE TABLE face (
    source_id INTEGER NOT NULL REFERENCES source(id),
    frame     INTEGER NOT NULL,             -- from 0; photos: 0
    face      INTEGER NOT NULL,             -- number of the face in the frame
    time_e4   INTEGER NOT NULL,             -- seconds
    track_id  INTEGER NOT NULL,             -- the track within the source (see `track` for its person)
    x_min_e1  INTEGER NOT NULL,             -- the box in pixels of the upright picture
    y_min_e1  INTEGER NOT NULL,
    x_max_e1  INTEGER NOT NULL,
    y_max_e1  INTEGER NOT NULL,
    score_e4  INTEGER NOT NULL,             -- confidence of the detector
    p_mask_e4 INTEGER,                      -- probability of a mask; NULL: not classified
    p_incorrect_e4 INTEGER,                 -- probability that a mask is worn incorrectly; NULL: the model does not know that
    sharpness_e2 INTEGER,                   -- how well the face can be seen; NULL: unknown. From 0 (blurred) to 1
    brightness INTEGER,                     -- mean of the face's grey values, from 0 to 255
    turn_e2   INTEGER,                      -- from 0 (frontal) to 1 (profile)
    PRIMARY KEY (source_id, frame, face)
) WITHOUT ROWID;

-- One row for each track in each source: its classified faces, added up. A person may have several tracks.
CREATE TABLE track (
    source_id INTEGER NOT NULL REFERENCES source(id),
    track_id  INTEGER NOT NULL,
    person_id INTEGER NOT NULL,             -- the number of the person's first track
    frames    INTEGER NOT NULL,             -- classified faces
    first_e4  INTEGER NOT NULL,             -- seconds
    last_e4   INTEGER NOT NULL,
    p_sum_e4  INTEGER NOT NULL,             -- sum of p_mask
    p_incorrect_sum_e4 INTEGER,             -- sum of p_incorrect; NULL: the model does not know that
    PRIMARY KEY (source_id, track_id)
) WITHOUT ROWID;

-- One row for each look at a face whose picture is in evidence/.
CREATE TABLE evidence (
    source_id INTEGER NOT NULL REFERENCES source(id),
    frame     INTEGER NOT NULL,
    face      INTEGER NOT NULL,
    PRIMARY KEY (source_id, frame, face)
) WITHOUT ROWID;

-- One row for each verdict of a reviewer. One that was taken back keeps its row, and has a time in `undone`.
CREATE TABLE review (
    id        INTEGER PRIMARY KEY,
    source_id INTEGER NOT NULL REFERENCES source(id),
    person_id INTEGER,                      -- NULL: a moment in which the scan found nobody
    frame     INTEGER,                      -- the look that was shown; NULL for a moment
    face      INTEGER,
    time_e4   INTEGER NOT NULL,             -- seconds
    verdict   TEXT NOT NULL,                -- a state, not_a_face or unsure; of a moment: nobody or somebody
    p_mask_e4 INTEGER,                      -- what the model had said when the person was shown
    model_verdict TEXT NOT NULL,            -- the same; "" for a moment
    reviewer  TEXT NOT NULL,
    at        TEXT NOT NULL,                -- ISO 8601, UTC
    undone    TEXT
);
CREATE INDEX review_person ON review(source_id, person_id);

-- One row for each probability sample that was drawn for a review.
CREATE TABLE sample (
    id        INTEGER PRIMARY KEY,
    made      TEXT NOT NULL,
    seed      INTEGER NOT NULL,
    precision REAL,                         -- half width of the interval at which the review may stop; NULL: none
    strata    TEXT NOT NULL                 -- JSON: for each stratum its name and number of people
);

-- The people and moments of a sample, in the order in which they are shown.
CREATE TABLE sample_item (
    sample_id INTEGER NOT NULL REFERENCES sample(id),
    number    INTEGER NOT NULL,
    source_id INTEGER NOT NULL REFERENCES source(id),
    person_id INTEGER,                      -- NULL: a moment
    time_e4   INTEGER NOT NULL,
    stratum   INTEGER NOT NULL,
    PRIMARY KEY (sample_id, number)
) WITHOUT ROWID;

-- One row for each purge of personal data from this folder.
CREATE TABLE purge (
    id      INTEGER PRIMARY KEY,
    at      TEXT NOT NULL,                  -- ISO 8601, UTC
    what    TEXT NOT NULL,                  -- an age in days, such as 30d, or "one person"
    sources INTEGER NOT NULL,
    files   INTEGER NOT NULL                -- removed
);

-- One row for each name under annotated/, crops/ or evidence/ that a scan may have written. Nothing else there is ever removed.
CREATE TABLE media (
    kind        TEXT NOT NULL,              -- annotated: a file; crops: the beginning of the names of all crops and evidence
    folded_name TEXT NOT NULL,              -- the same for names that some file systems do not tell apart
    name        TEXT NOT NULL,              -- relative to annotated/, to crops/<label>/ and evidence/
    source_id   INTEGER NOT NULL REFERENCES source(id),
    state       TEXT NOT NULL,              -- planned, written, missing (could not be written) or purged
    PRIMARY KEY (kind, folded_name)
) WITHOUT ROWID;
CREATE INDEX media_source ON media(source_id);

-- The faces of the inputs of the last session, with plain numbers.
CREATE VIEW faces AS
    SELECT source.name AS source, frame, time_e4 / 10000.0 AS time_s, face, face.track_id,
           coalesce(person_id, face.track_id) AS person, x_min_e1 / 10.0 AS x_min,
           y_min_e1 / 10.0 AS y_min, x_max_e1 / 10.0 AS x_max, y_max_e1 / 10.0 AS y_max, score_e4 / 10000.0 AS score,
           p_mask_e4 / 10000.0 AS p_mask, p_incorrect_e4 / 10000.0 AS p_incorrect, sharpness_e2 / 100.0 AS sharpness,
           brightness, turn_e2 / 100.0 AS turn, source.position AS position
    FROM face JOIN source ON source.id = face.source_id
         LEFT JOIN track ON track.source_id = face.source_id AND track.track_id = face.track_id WHERE source.position IS NOT NULL;

-- Their tracks. people.csv says who was seen long enough to count, and what follows from all tracks of a person.
CREATE VIEW tracks AS
    SELECT source.name AS source, track_id, person_id, frames, first_e4 / 10000.0 AS first_s, last_e4 / 10000.0 AS last_s,
           round(p_sum_e4 / 10000.0 / frames, 4) AS p_mask,
           round(p_incorrect_sum_e4 / 10000.0 / frames, 4) AS p_incorrect, source.position AS position
    FROM track JOIN source ON source.id = track.source_id WHERE source.position IS NOT NULL;
