import { multiply, parseDecimal, type Rational } from './rational';

/** Units by kind, with what one of each is in the first. Exact. */
const table: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  length: {
    'm meter meters metre metres': '1', 'mm millimeter millimeters millimetre millimetres': '0.001', 'cm centimeter centimeters centimetre centimetres': '0.01', 'dm decimeter decimeters decimetre decimetres': '0.1',
    'km kilometer kilometers kilometre kilometres': '1000', 'in inch inches': '0.0254', 'ft foot feet': '0.3048', 'yd yard yards': '0.9144', 'mi mile miles': '1609.344',
  },
  mass: { 'g gram grams': '1', 'mg milligram milligrams': '0.001', 'kg kilogram kilograms': '1000', 't ton tons tonne tonnes': '1000000', 'oz ounce ounces': '28.349523125', 'lb lbs pound pounds': '453.59237' },
  time: { 's sec secs second seconds': '1', 'ms millisecond milliseconds': '0.001', 'min mins minute minutes': '60', 'h hr hrs hour hours': '3600', 'd day days': '86400', 'week weeks': '604800' },
  volume: { 'l liter liters litre litres dm^3': '1', 'ml milliliter milliliters millilitre millilitres cm^3 cc': '0.001', 'cl centiliter centiliters centilitre centilitres': '0.01', 'dl deciliter deciliters decilitre decilitres': '0.1', 'm^3': '1000', 'mm^3': '0.000001' },
  area: { 'm^2': '1', 'mm^2': '0.000001', 'cm^2': '0.0001', 'dm^2': '0.01', 'km^2': '1000000', 'ha hectare hectares': '10000', 'ft^2': '0.09290304', 'in^2': '0.00064516' },
  speed: { 'm/s': '18', 'km/h kmh kph': '5', mph: '8.04672' }, // in km/h ÷ 5, for 1 m/s is 18/5 km/h
  money: { 'cent cents': '0.01', 'dollar dollars usd': '1' },
  data: { 'byte bytes b': '1', 'kb kilobyte kilobytes': '1000', 'mb megabyte megabytes': '1000000', 'gb gigabyte gigabytes': '1000000000' },
};

const byName = new Map<string, { kind: string; size: Rational }>();
for (const [kind, units] of Object.entries(table)) for (const [names, size] of Object.entries(units)) for (const name of names.split(' ')) byName.set(name, { kind, size: parseDecimal(size)! });

/** A unit by its name or sign, in any case; null for none that is known. */
export function unitOf(text: string): { kind: string; size: Rational } | null {
  const name = text.trim().replace(/\.$/, '').replaceAll('²', '^2').replaceAll('³', '^3').replace(/\^\{(\d)\}/g, '^$1').replace(/^(?:square|sq\.?) (.*)$/i, '$1^2').replace(/^(?:cubic|cu\.?) (.*)$/i, '$1^3');
  const [base, exponent = ''] = name.split('^');
  const plain = byName.get(exponent === '' ? base : `${base}^${exponent}`) ?? byName.get(`${base.toLowerCase()}${exponent === '' ? '' : `^${exponent}`}`);
  if (plain) return plain;
  const short = exponent === '' ? undefined : signs.get(base.toLowerCase()); // square meters
  return short === undefined ? null : (byName.get(`${short}^${exponent}`) ?? null);
}

/** The sign of a length by its longer names. */
const signs = new Map(Object.keys(table['length']).flatMap((names) => names.split(' ').map((name) => [name, names.split(' ')[0]] as const)));

/** An amount of a unit, in the first unit of its kind. */
export interface Quantity {
  kind: string;
  amount: Rational;
}

export function quantity(amount: Rational, unit: { kind: string; size: Rational }): Quantity | null {
  const made = multiply(amount, unit.size);
  return made && { kind: unit.kind, amount: made };
}
