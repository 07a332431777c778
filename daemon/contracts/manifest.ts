import { type Static, Type } from 'typebox'
import { CATEGORIES, MODULE_ID_PATTERN, SEGMENT_PATTERN } from './ids.ts'

const closed = { additionalProperties: false }
const Texts = (description: string) =>
  Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), { default: [], maxItems: 64, description })
const WaitMs = (standard: number, max: number, why: string) =>
  Type.Integer({ default: standard, minimum: 0, maximum: max, description: why })

/** A JSON Schema (draft 2020-12) of somebody else's; ajv judges it when the manifest is read. */
const ForeignSchema = Type.Object({}, { additionalProperties: true })

const ActionSpec = Type.Object(
  {
    description: Type.String({ minLength: 1, maxLength: 500 }),
    input: Type.Optional(ForeignSchema),
    output: Type.Optional(ForeignSchema),
    timeout_ms: WaitMs(30_000, 3_600_000, 'silence this long is taken for a hang of the action'),
    idempotent: Type.Boolean({ default: false, description: 'running it twice does no more than once' }),
    concurrency: Type.Integer({ default: 1, minimum: 1, maximum: 1_000 }),
  },
  closed,
)

const SelfTest = Type.Object(
  {
    action: Type.String({ pattern: `^${SEGMENT_PATTERN}$` }),
    input: Type.Optional(Type.Unknown()),
    expect: Type.Optional(Type.Unknown({ description: 'the answer must contain this' })),
  },
  closed,
)

const Permissions = Type.Object(
  {
    fs_read: Texts('folders and files it reads: absolute paths, $DATA, $ROOTS or $RECORDS'),
    fs_write: Texts('folders it writes: absolute paths, $DATA or $ROOTS'),
    net: Type.Boolean({ default: false }),
    child_process: Type.Boolean({ default: false }),
    env: Texts('names of environment variables it is given'),
    commands: Texts('daemon commands it may call'),
    secrets: Texts('names of secrets it may read'),
  },
  closed,
)

/** `module.json`, closed: an unknown field is an error that names it. */
export const ManifestSchema = Type.Object(
  {
    $schema: Type.Optional(Type.String()),
    id: Type.String({ pattern: MODULE_ID_PATTERN }),
    version: Type.String({ pattern: '^\\d+\\.\\d+\\.\\d+(-[0-9A-Za-z.-]+)?(\\+[0-9A-Za-z.-]+)?$' }),
    description: Type.String({ minLength: 1, maxLength: 500 }),
    entry: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    command: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { minItems: 1, maxItems: 64 })),
    runtime: Type.Enum(['process', 'shared', 'exec'], { default: 'process' }),
    autostart: Type.Boolean({ default: true }),
    critical: Type.Boolean({ default: false }),
    exclusive: Type.Boolean({ default: false }),
    replicas: Type.Integer({ default: 1, minimum: 0, maximum: 64 }),
    requires: Type.Array(Type.String({ pattern: MODULE_ID_PATTERN }), { default: [], maxItems: 64 }),
    permissions: Type.Object(Permissions.properties, { ...closed, default: {} }),
    sandbox: Type.Boolean({ default: false }),
    config: Type.Object(
      {
        schema: Type.Object({}, { additionalProperties: true, default: {} }),
        defaults: Type.Object({}, { additionalProperties: true, default: {} }),
      },
      { ...closed, default: {} },
    ),
    actions: Type.Record(Type.String({ pattern: `^${SEGMENT_PATTERN}$` }), ActionSpec, {
      ...closed,
      default: {},
    }),
    self_test: Type.Array(SelfTest, { default: [], maxItems: 16 }),
    categories: Type.Array(Type.Enum([...CATEGORIES]), { default: [], maxItems: CATEGORIES.length }),
    health: Type.Object(
      {
        interval_ms: WaitMs(5_000, 3_600_000, 'twelve looks a minute notice a sick module while it is news'),
        timeout_ms: WaitMs(2_000, 60_000, 'a well module answers in milliseconds'),
        unhealthy_after: Type.Integer({ default: 3, minimum: 1, maximum: 100 }),
        healthy_after: Type.Integer({ default: 1, minimum: 1, maximum: 100 }),
      },
      { ...closed, default: {} },
    ),
    restart: Type.Object(
      {
        policy: Type.Enum(['permanent', 'transient', 'temporary'], { default: 'permanent' }),
        max: Type.Integer({ default: 5, minimum: 0, maximum: 100_000 }),
        within_ms: WaitMs(60_000, 86_400_000, 'crashes further apart are separate incidents'),
        backoff_ms: WaitMs(500, 3_600_000, 'long enough for a port or a file to be let go'),
        backoff_max_ms: WaitMs(30_000, 3_600_000, 'nobody should wait longer for a cause that has gone'),
      },
      { ...closed, default: {} },
    ),
    limits: Type.Object(
      {
        memory_mb: Type.Integer({ default: 256, minimum: 16, maximum: 1_048_576 }),
        heartbeat_suspect_ms: WaitMs(1_000, 3_600_000, 'two missed heartbeats'),
        heartbeat_kill_ms: WaitMs(5_000, 3_600_000, 'a pause this long is no garbage collection'),
        open_files: Type.Integer({ default: 256, minimum: 64, maximum: 1_048_576 }),
        log_lines_per_s: Type.Integer({ default: 200, minimum: 1, maximum: 100_000 }),
      },
      { ...closed, default: {} },
    ),
    timeouts: Type.Object(
      {
        start_ms: WaitMs(30_000, 3_600_000, 'a start may load a model or open a database'),
        stop_ms: WaitMs(5_000, 600_000, 'then TERM becomes KILL'),
        drain_ms: WaitMs(10_000, 3_600_000, 'calls in flight may end by themselves'),
        settle_ms: WaitMs(3_000, 3_600_000, 'code that dies young does so in its first seconds'),
      },
      { ...closed, default: {} },
    ),
    reload: Type.Enum(['graceful', 'rolling', 'canary', 'immediate'], { default: 'graceful' }),
    listen: Type.Array(
      Type.Object(
        {
          name: Type.String({ pattern: `^${SEGMENT_PATTERN}$` }),
          port: Type.Integer({ minimum: 1, maximum: 65_535 }),
          host: Type.String({ default: '127.0.0.1' }),
        },
        closed,
      ),
      { default: [], maxItems: 16 },
    ),
  },
  { ...closed, $id: 'Manifest' },
)

/** A manifest with every default filled in. */
export type Manifest = Static<typeof ManifestSchema>
export type ActionSpecification = Static<typeof ActionSpec>
