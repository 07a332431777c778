/**
 * The glossary is law: one word per thing, one thing per word.
 *
 * - *module*: code on disk under `modules/<group>/<name>/` with a `module.json`.
 * - *generation*: one immutable copy of a module's files, named by content hash.
 * - *instance*: one running copy of a generation. *host*: the child process it runs in; a *spare* holds none yet.
 * - *unit*: the supervisor's side of one module.
 * - *action*: one named thing a module can do.
 * - *mission*: a goal with a category, constraints and a plan, judged before it runs.
 * - *plan* / *step*: ordered steps; a step names `module/action` and its input.
 * - *attempt*: one try at a mission; its number is the mission's *epoch*, which every later write must present.
 * - *decision*: SAFE, BORDERLINE or FAILING. *lane*: a category's place in the queue.
 * - *fact*: one journaled event; what has happened. *journal*: the hash-chained, synced log of facts.
 * - *omen*: a repeated pattern, counted. *prediction*: a stated probability, later scored. *rune*: a learned plan.
 * - *principal*: who is asking. *operator key*: the secret that approves and overrides.
 * - *gate*: the one way in for every change. *surface*: a way to speak to the daemon.
 */

/** `<group>/<name>`. */
export type ModuleId = string
/** `m-` and 26 characters of Crockford base32: the time it was made, then chance. */
export type MissionId = string
/** The content hash (SHA-256, hex) that names a generation. */
export type GenerationId = string
/** `<group>/<name>#<n>`, n counts up for the life of the daemon. */
export type InstanceId = string

export const CATEGORIES = ['coin', 'forge', 'library', 'sanctuary'] as const
export type Category = (typeof CATEGORIES)[number]

export const DECISIONS = ['SAFE', 'BORDERLINE', 'FAILING'] as const
export type Decision = (typeof DECISIONS)[number]

/** One segment of a module id, and the name of an action. ASCII only, so that no two ids look alike. */
export const SEGMENT_PATTERN = '[a-z0-9][a-z0-9-]{0,62}'
export const MODULE_ID_PATTERN = `^${SEGMENT_PATTERN}/${SEGMENT_PATTERN}$`
export const MISSION_ID_PATTERN = '^m-[0-9a-z]{26}$'
