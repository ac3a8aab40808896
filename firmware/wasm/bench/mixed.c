// SPDX-License-Identifier: Apache-2.0
/* What control programs do: lists, a state machine over text, a sort, a hash
 * table, calls through pointers. */
typedef unsigned int u32;
struct node { struct node *next; int key, value; };
static struct node nodes[64], *head;
static int array[200];
static u32 table[128];
static const char text[] = "12,0x3f,-7,1.5e3,,hello,99,+4,0,abc1,7e-2,0xZZ,15,-,8.25,1e9,#";

static struct node *sort(struct node *list)
{
	struct node *sorted = 0;
	while (list) {
		struct node *n = list, **p = &sorted;
		list = list->next;
		while (*p && (*p)->key < n->key)
			p = &(*p)->next;
		n->next = *p;
		*p = n;
	}
	return sorted;
}

enum state { START, SIGN, INT, HEX, FRACTION, EXPONENT, WORD, STATES };
static void scan(u32 *counts)
{
	enum state s = START;
	for (const char *p = text; *p; p++) {
		char c = *p;
		if (c == ',') {
			counts[s]++;
			s = START;
			continue;
		}
		switch (s) {
		case START: s = c == '+' || c == '-' ? SIGN : c >= '0' && c <= '9' ? INT : WORD; break;
		case SIGN: s = c >= '0' && c <= '9' ? INT : WORD; break;
		case INT: s = c == 'x' ? HEX : c == '.' ? FRACTION : c == 'e' ? EXPONENT : c >= '0' && c <= '9' ? INT : WORD; break;
		case HEX: s = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ? HEX : WORD; break;
		case FRACTION: s = c == 'e' ? EXPONENT : c >= '0' && c <= '9' ? FRACTION : WORD; break;
		case EXPONENT: s = (c >= '0' && c <= '9') || c == '-' ? EXPONENT : WORD; break;
		default: s = WORD;
		}
	}
	counts[s]++;
}

static void quicksort(int *a, int n)
{
	while (n > 1) {
		int pivot = a[n / 2], i = 0, j = n - 1;
		while (i <= j) {
			while (a[i] < pivot)
				i++;
			while (a[j] > pivot)
				j--;
			if (i <= j) {
				int t = a[i];
				a[i++] = a[j];
				a[j--] = t;
			}
		}
		quicksort(a, j + 1);
		a += i;
		n -= i;
	}
}

static u32 f1(u32 x) { return x * 2654435761u; }
static u32 f2(u32 x) { return x ^ x >> 7; }
static u32 f3(u32 x) { return x << 3 | x >> 29; }
static u32 (*const steps[])(u32) = {f1, f2, f3};

__attribute__((visibility("default"))) int run(void)
{
	u32 counts[STATES] = {0}, x = 1, found = 0;
	for (int r = 0; r < 8; r++) {
		head = 0;
		for (int i = 0; i < 64; i++) {
			x = x * 1103515245u + 12345u;
			nodes[i] = (struct node){head, (int)(x >> 16 & 255), i};
			head = &nodes[i];
		}
		head = sort(head);
		scan(counts);
		for (int i = 0; i < 200; i++)
			array[i] = (int)(x = x * 1103515245u + 12345u) >> 8;
		quicksort(array, 200);
		for (int i = 0; i < 64; i++) {
			u32 k = (u32)array[i] % 127;
			while (table[k] && table[k] != (u32)array[i])
				k = (k + 1) & 127;
			if (r == 0)
				table[k] = (u32)array[i];
			found += table[k] == (u32)array[i];
			if (k == 3)
				break;
		}
		for (int i = 0; i < 300; i++)
			x = steps[i % 3](x);
	}
	for (int i = 0; i < STATES; i++)
		x += counts[i] * (u32)(i + 1);
	return (int)(x ^ (u32)array[50] ^ (u32)head->value ^ found);
}
