/** A small line without axes: the shape of the last minutes, beside its figure. */
const WIDTH = 56
const HEIGHT = 18
const POINTS = 30

interface SparklineProps {
  readonly values: readonly number[]
  /** The value at the top. */
  readonly max: number
  readonly label: string
}

export function Sparkline({ values, max, label }: SparklineProps) {
  const shown = values.slice(-POINTS)
  if (shown.length < 2) return <svg width={WIDTH} height={HEIGHT} aria-hidden />
  const step = WIDTH / (POINTS - 1)
  const begin = WIDTH - (shown.length - 1) * step
  const line = shown.map((value, index) => `${(begin + index * step).toFixed(1)},${(HEIGHT - 1.5 - Math.min(1, value / max) * (HEIGHT - 3)).toFixed(1)}`).join(' ')
  return (
    <svg width={WIDTH} height={HEIGHT} role="img" aria-label={label}>
      <polyline points={line} fill="none" stroke="var(--mantine-color-harbour-6)" strokeWidth={1.4} strokeLinejoin="round" />
    </svg>
  )
}
