import { Type } from 'typebox'
import { DECISIONS } from '../../contracts/ids.ts'
import { BATCH_MAX, CreateSchema, MISSION_STATUSES } from '../../contracts/mission.ts'

const Errors = Type.Array(Type.Object({ pointer: Type.String(), detail: Type.String() }))

/** RFC 9457, as every refusal outside the commands looks. */
export const Problem = Type.Object({
  type: Type.String({ examples: ['/problems/MISSION_BLOCKED'] }),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  code: Type.String(),
  remedy: Type.String(),
  instance: Type.String(),
  request_id: Type.String(),
  errors: Type.Optional(Errors),
})

/** The refusal of a command. */
export const CommandFailure = Type.Object({
  success: Type.Literal(false),
  error: Type.String(),
  code: Type.String(),
  remedy: Type.String(),
  request_id: Type.String(),
  errors: Type.Optional(Errors),
})

/** What create answers. */
export const CreateAnswer = Type.Object({
  mission_id: Type.String({ examples: ['m-01jdzq3b8m4x7k2n5p9r6t1v3w'] }),
  status: Type.Enum([...MISSION_STATUSES]),
  decision: Type.Enum([...DECISIONS]),
  score: Type.Number(),
  validation: Type.Unknown({ description: 'six axes, with evidence and points lost' }),
  reasons: Type.Array(Type.String()),
  counterfactual: Type.Unknown({ description: 'the cheapest change that would help, or null' }),
})

/** The body of a batch, as the documentation shows it. */
export const BatchBody = Type.Object(
  {
    missions: Type.Array(
      Type.Object(
        {
          ...CreateSchema.properties,
          idempotency_key: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
        },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: BATCH_MAX },
    ),
  },
  { additionalProperties: false },
)

/** What batch answers: for each mission, in order, what create would have. */
export const BatchAnswer = Type.Object({
  results: Type.Array(
    Type.Object({
      status: Type.Integer({
        description: '201, 200 for a key that was used before, or that of the problem',
      }),
      mission: Type.Optional(CreateAnswer),
      problem: Type.Optional(
        Type.Object({ ...Problem.properties, retry_after_seconds: Type.Optional(Type.Integer()) }),
      ),
    }),
  ),
})

/** What run answers. */
export const RunAnswer = Type.Object({
  status: Type.Enum(['ok', 'failed', 'accepted']),
  mission_id: Type.String(),
  mission: Type.Unknown(),
})
