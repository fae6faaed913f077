import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BerthError } from './errors.ts'
import {
  formatBandwidth,
  formatDataSize,
  formatFriendlySize,
  parseBandwidth,
  parseDataSize,
  parseFriendlySize,
} from './sizes.ts'

const MB = 2 ** 20
const GB = 2 ** 30

function refusal(parse: (text: string) => number, text: string): string {
  try {
    parse(text)
  } catch (error) {
    assert.ok(error instanceof BerthError, String(error))
    assert.equal(error.code, 'invalid_size')
    return error.message
  }
  return assert.fail(`${text} was taken`)
}

test('sizes parse as Hypeman’s server parses them', () => {
  const table: readonly (readonly [string, number])[] = [
    ['', 0],
    ['0', 0],
    ['0GB', 0],
    ['1073741824', GB],
    ['1b', 1],
    ['1byte', 1],
    ['4GB', 4 * GB],
    ['4gb', 4 * GB],
    ['4gB', 4 * GB],
    ['4G', 4 * GB],
    ['4 GB', 4 * GB],
    ['4\t GB', 4 * GB],
    ['4GB ', 4 * GB],
    ['512MB', 512 * MB],
    ['1k', 1024],
    ['1kilobytes', 1024],
    ['1Mega', MB],
    ['2gigabyte', 2 * GB],
    ['1t', 2 ** 40],
    ['1PB', 2 ** 50],
    ['0E', 0],
    ['007KB', 7 * 1024],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ]
  for (const [text, bytes] of table) assert.equal(parseDataSize(text), bytes, text)
})

test('sizes that Hypeman’s server refuses are refused in its words', () => {
  const syntax = ['abc', '1.5GB', '1GiB', '1Mi', '-1GB', '+1GB', 'GB', ' 4GB', '10bytes', '4 G B', '1exabyte', '4GB;', '1e3', '٣']
  for (const text of syntax) {
    assert.equal(refusal(parseDataSize, text), `strconv.UnmarshalText: parsing "${text}": invalid syntax`)
  }
  for (const unit of ['Kb', 'Mb', 'Gb', 'Tb', 'Pb', 'Eb']) {
    assert.equal(
      refusal(parseDataSize, `4${unit}`),
      `strconv.UnmarshalText: parsing "4${unit}": unit with capital unit prefix and lower case unit (b) - bits, not bytes `,
    )
  }
  for (const text of ['18446744073709551616', '99999999999999999999GB', '1EB', '16384PB', '9007199254740992', '99999999999999999999xx', '9'.repeat(60)]) {
    assert.equal(refusal(parseDataSize, text), `strconv.UnmarshalText: parsing "${text}": value out of range`)
  }
})

test('sizes print as Hypeman’s server prints them', () => {
  const table: readonly (readonly [number, string])[] = [
    [0, '0 B'],
    [1, '1 B'],
    [1024, '1024 B'],
    [1025, '1.0 KB'],
    [MB, '1024.0 KB'],
    [512 * MB, '512.0 MB'],
    [GB, '1024.0 MB'],
    [GB + 1, '1.0 GB'],
    [1.25 * GB, '1.2 GB'],
    [1.75 * GB, '1.8 GB'],
    [2.25 * GB, '2.2 GB'],
    [1.5 * GB, '1.5 GB'],
    [2 * GB, '2.0 GB'],
    [3 * GB, '3.0 GB'],
    [10 * GB, '10.0 GB'],
    [1024 * GB, '1024.0 GB'],
    [2 ** 50, '1024.0 TB'],
    [2 ** 53 - 1, '8.0 PB'],
  ]
  for (const [bytes, text] of table) assert.equal(formatDataSize(bytes), text)
})

test('one decimal is the nearest tenth, and a tie goes to the even one', () => {
  fc.assert(
    fc.property(fc.integer({ min: GB + 1, max: 1024 * GB }), (bytes) => {
      const tenths = (BigInt(bytes) * 10n) / BigInt(GB)
      const twice = 2n * (BigInt(bytes) * 10n - tenths * BigInt(GB))
      const up = twice > BigInt(GB) || (twice === BigInt(GB) && tenths % 2n === 1n)
      const expected = up ? tenths + 1n : tenths
      assert.equal(formatDataSize(bytes), `${expected / 10n}.${expected % 10n} GB`)
    }),
  )
})

test('bandwidths parse and print as Hypeman’s server does', () => {
  const table: readonly (readonly [string, number])[] = [
    ['', 0],
    ['1Gbps', 125_000_000],
    ['1gbps', 125_000_000],
    ['100 Mbps', 12_500_000],
    ['8kbps', 1000],
    ['8bps', 1],
    ['7bps', 0],
    ['125MB/s', 131_072_000],
    ['125mb/S', 131_072_000],
    ['250 MB/s', 262_144_000],
    ['1000', 1000],
    ['1kps', 1024],
    ['1Gb/s', GB],
  ]
  for (const [text, bytes] of table) assert.equal(parseBandwidth(text), bytes, text)
  for (const text of ['fast', 'gbps', '1.5gbps', '-1mbps', '1MB/m', '99999999999999999999gbps', '1 /s x']) refusal(parseBandwidth, text)
  assert.equal(formatBandwidth(125_000_000), '119.2 MB/s')
  assert.equal(formatBandwidth(262_144_000), '250.0 MB/s')
})

test('friendly sizes take decimals and binary units', () => {
  const table: readonly (readonly [string, number])[] = [
    ['512M', 512 * MB],
    ['1.5GiB', 1.5 * GB],
    ['1.5gib', 1.5 * GB],
    ['1Gi', GB],
    ['0.5 g', GB / 2],
    [' 4GB ', 4 * GB],
    ['1024.0 MB', GB],
    ['10bytes', -1],
    ['1.0', 1],
    ['0.3k', 307],
    ['100', 100],
  ]
  for (const [text, bytes] of table) {
    if (bytes < 0) refusal(parseFriendlySize, text)
    else assert.equal(parseFriendlySize(text), bytes, text)
  }
  for (const text of ['', 'GB', '-1', '1.', '.5G', '1,5G', '4Gb', '1.5.2G', '1e3', 'abc', '9'.repeat(17), '9007199254740992', '8P']) {
    assert.match(refusal(parseFriendlySize, text), / (is not a size|is larger than)/)
  }
})

test('the friendly parser takes whatever Hypeman takes or prints, with the same meaning', () => {
  const unit = fc.constantFrom('', 'B', 'k', 'KB', 'kilobytes', 'M', 'mb', 'mega', 'G', 'GB', 'gigabyte', 'T', 'tb')
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 8000 }), unit, (count, name) => {
      const text = `${count}${name}`
      assert.equal(parseFriendlySize(text), parseDataSize(text))
    }),
  )
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 52 }), (bytes) => {
      const back = parseFriendlySize(formatDataSize(bytes))
      assert.ok(Math.abs(back - bytes) <= bytes / 20, `${bytes} → ${formatDataSize(bytes)} → ${back}`)
    }),
  )
})

test('friendly printing uses the unit that fits and comes back within its precision', () => {
  const table: readonly (readonly [number, string])[] = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [512 * MB, '512 MiB'],
    [GB, '1 GiB'],
    [1.5 * GB, '1.5 GiB'],
    [10 * GB, '10 GiB'],
  ]
  for (const [bytes, text] of table) {
    assert.equal(formatFriendlySize(bytes), text)
    assert.equal(parseFriendlySize(text), bytes)
  }
})
