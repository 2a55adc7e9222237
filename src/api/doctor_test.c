/* The election timeout that is proposed from measured round trips. */
#include "api/doctor.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void on_a_lan_the_default_is_proposed(void **state)
{
    assert_int_equal(doctor_election_ms(400, 9000), 300);
    assert_int_equal(doctor_election_ms(30000, 60000), 300);
}

static void ten_usual_round_trips_are_proposed_in_round_figures(void **state)
{
    assert_int_equal(doctor_election_ms(30100, 40000), 400);
    assert_int_equal(doctor_election_ms(200000, 210000), 2000);
    assert_int_equal(doctor_election_ms(204321, 260000), 2100);
}

static void five_of_the_longest_are_proposed_where_they_vary(void **state)
{
    assert_int_equal(doctor_election_ms(200000, 700000), 3500);
}

static void never_more_is_proposed_than_is_allowed(void **state)
{
    assert_int_equal(doctor_election_ms(9000000, 9000000), 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_a_lan_the_default_is_proposed),
        cmocka_unit_test(ten_usual_round_trips_are_proposed_in_round_figures),
        cmocka_unit_test(five_of_the_longest_are_proposed_where_they_vary),
        cmocka_unit_test(never_more_is_proposed_than_is_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
